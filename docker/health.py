"""A container's health check: python docker/health.py URL [TEXT] exits with 0 if the URL answers, and the answer contains TEXT."""

import sys
from urllib.request import urlopen

url, *texts = sys.argv[1:]
with urlopen(url, timeout=5) as answer:
    body = answer.read().decode()
sys.exit(not all(text in body for text in texts))
