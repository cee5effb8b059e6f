"""Moving pictures: a clip in, the clip painted, without flicker."""
