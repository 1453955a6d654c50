"""Sweeps that arrive now: from ROS 2's topics or a sensor's packets, to labels at once.

- `slot`: hands the newest sweep from the thread that receives to the one that computes.
- `source`: what sources offer; `ros_points`: topics with points; `velodyne_udp`: a Velodyne's
  packets.
- `dds`: ROS 2's topics without ROS; `dds_types`: the types of their messages.
- `merge`: sweeps of several sensors, put together by their stamps.
- `frames`: the fixed transforms of a robot; `poses`: where it is at a stamp; `ros_motion`: both
  from its topics.
- `pipeline`: from a sweep to its messages; `follow`: its objects and their ids; `own_search`: the
  vehicle that carries the sensor.
- `outputs`: where results go; `replay`: sends recorded sweeps, to try it.
- `state`: how fast it goes, how late the results are, and what was dropped.
- `session`: all of these at work.
"""
