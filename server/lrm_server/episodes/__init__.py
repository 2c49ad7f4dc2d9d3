"""Running episodes on the clock: what they are asked, how they answer, where they live."""
