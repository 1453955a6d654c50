"""Objects over time: persistent ids, velocities, headings, and scores that use earlier sweeps.

- `tracker`: the `Tracker`, from each sweep's instances to `TrackedInstances`.
- `tracked`: its results.
- `state`: all tracks as columns of arrays; `kalman`: their positions and velocities.
- `seen`: the instances of a sweep in world coordinates.
- `association`: which instance belongs to which track; `evidence`: whether a track is an object.
- `continuity`: pauses and jumps, after which all objects get new ids.
- `motion`: which objects move, and where their front is.
- `learned_centres`: the centre of an object as its points predict it.
- `given_poses`: poses of the sensor, and times, from files; `odometry`: poses by KISS-ICP.
- `smooth`: results that also use later sweeps; `whole_path`: motion from a whole track.
"""
