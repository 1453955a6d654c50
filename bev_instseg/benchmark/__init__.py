"""Measure the speed of every stage, compared with lower bounds, other methods and other runtimes.

`measure`, `report` and `setup` are shared. `unknown` belongs to ``bev-instseg evaluate --unknown``,
and `runtime_worker` is a process that `runtimes` starts. Every other module is a part of
``bev-instseg benchmark``, measured by its function ``report``. Optional packages (pypatchworkpp,
scikit-learn, ONNX Runtime, OpenVINO) are imported by the functions that need them.
"""
