"""The grids of a project, behind page and REST routes: made, judged, shown, and picked from."""
