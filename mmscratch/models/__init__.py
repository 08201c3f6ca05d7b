"""Detectors and their parts, registered in MMDetection's registry."""
