"""Objects over time: the same id from sweep to sweep, with velocity, heading, and a better score.

- `tracker`: the `Tracker`, from each sweep's instances to `TrackedInstances`.
- `tracked`: what comes out.
- `state`: all tracks as columns of arrays; `kalman`: where they are and how fast they move.
- `association`: which instance is which track; `evidence`: what is an object, and of which class.
- `continuity`: where a sequence breaks off, so that all objects get new ids.
- `motion`: what moves, and where its front is.
- `learned_centres`: where an object's points say that its centre is.
- `given_poses`: poses of the sensor, and times, from files; `odometry`: poses by KISS-ICP.
- `smooth`: looking at a whole recording, both ways in time.
"""
