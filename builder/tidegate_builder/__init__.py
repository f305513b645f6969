"""The builder: turns one commit of a repository into a site, and uploads it."""
