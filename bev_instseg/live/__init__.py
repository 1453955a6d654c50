"""Sweeps that arrive now: from ROS 2's topics or a sensor's packets, to labels at once.

- `slot`: hands the newest sweep from the thread that receives to the one that computes.
- `dds`: ROS 2's topics without ROS; `velodyne_udp`: a Velodyne's packets. Both are sources.
- `pipeline`: from a sweep to its labels, ids and messages.
- `state`: how fast it goes, how late the results are, and what was dropped.
- `session`: all of these at work.
"""
