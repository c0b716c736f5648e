"""./smw import: readings of files of many formats into the topics.

formats reads files, one module a format; spool sorts what they hold on disk; sending cuts it into bursts.
"""
