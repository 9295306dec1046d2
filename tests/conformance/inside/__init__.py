"""What runs inside the shadow interpreters; it is copied into them as `mproc_conformance`."""
