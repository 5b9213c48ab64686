"""Training as pure functions: state, step, loop, checkpoints, the mesh."""
