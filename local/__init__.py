"""The local stack: all of Tidegate on one machine, from the same template and the same handlers."""
