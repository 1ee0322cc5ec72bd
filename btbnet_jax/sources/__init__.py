"""The data sets: what files make them up, and what is wrong with a folder that should hold one."""
