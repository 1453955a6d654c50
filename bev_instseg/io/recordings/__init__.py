"""Recordings of robots, read as a stream: ROS 1 and ROS 2 bags, MCAP files and captures."""
