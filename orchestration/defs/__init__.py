"""Dagster only, thin: one file per stage, and resources, partitions, jobs, schedules, sensors. No rule lives here."""
