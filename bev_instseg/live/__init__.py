"""Segment and track the sweeps of a running sensor, from ROS 2 topics or sensor packets.

- `slot`: hands the newest sweep from the receiving thread to the computing one.
- `source`: the interface of a source; `ros_points`: PointCloud2 topics; `velodyne_udp`: packets of
  a Velodyne.
- `dds`: ROS 2 topics without ROS; `dds_types`: the types of their messages.
- `merge`: merges the sweeps of several sensors by their stamps.
- `frames`: the fixed transforms of a robot; `poses`: its pose at a stamp; `ros_motion`: both, from
  ROS 2 topics.
- `pipeline`: from a sweep to its messages; `follow`: objects and their ids; `own_search`: finds the
  vehicle that carries the sensor.
- `outputs`: publishes and records results; `replay`: sends recorded sweeps.
- `state`: rate and latencies.
- `session`: runs all of these.
"""
