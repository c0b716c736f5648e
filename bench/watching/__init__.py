"""What `./smw bench watchdog` is made of: faults, their injection, the jobs' core over a house's days, scores, and a plot."""
