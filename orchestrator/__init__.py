"""skerry: moves systems to the cloud in small waves, with the disaster-recovery replica as the stepping stone."""

__version__ = "0.1.0"
