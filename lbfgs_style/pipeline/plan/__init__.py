"""What a run will do, decided before it does it. Pure functions.

memory, scales, schedule
"""
