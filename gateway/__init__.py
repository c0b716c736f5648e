"""Receives what meters send by MQTT, and sends it on as bursts."""
