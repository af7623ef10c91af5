"""What stands under the tables."""

TITLES = {"velocity": "Velocity from counts", "fate": "Fate", "timecourse": "Time", "cost": "Cost"}
NOTES = dict.fromkeys(TITLES, "")
