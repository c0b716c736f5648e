"""The commands of ./smw, one file each; cli.py parses them."""
