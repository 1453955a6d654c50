"""Recordings of robots: ROS 1 and ROS 2 bags, MCAP files and captures, read as a stream of sweeps."""
