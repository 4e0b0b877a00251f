"""Programs placed on demo hosts. Standard library only; they import each other relatively and nothing else of ours."""
