"""A container's health: python docker/health.py URL [TEXT] ends with 0 when the URL answers, and its answer holds TEXT."""

import sys
from urllib.request import urlopen

url, *texts = sys.argv[1:]
with urlopen(url, timeout=5) as answer:
    body = answer.read().decode()
sys.exit(not all(text in body for text in texts))
