"""Carries the rooms of the gate inside one wheel; holds no logic of its own."""
