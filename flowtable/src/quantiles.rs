//! A median in bounded memory: counts per quarter octave.
