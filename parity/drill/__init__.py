"""A drill: a catalogue of mistakes is planted into the user's own challenger, and what is named is counted."""
