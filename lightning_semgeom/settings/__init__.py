"""Models and data to see the phenomenon with: a real one, and controlled ones."""
