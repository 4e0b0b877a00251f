"""Planning: runbook, wish and facts become a plan, or every reason why not. Pure: no clock, no host."""
