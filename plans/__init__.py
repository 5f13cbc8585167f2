"""Recipes, one file each, and what they share: stubs for dosing, analysis of what is read."""
