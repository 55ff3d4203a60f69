"""The field `lattice`: an integer code for every active voxel, predicted from those before it.

Small integer networks predict a value from the decoded values around it, coarse to fine; its code
is how many steps it lies from there. Then the restoration filter reads the decoded neighbourhood
and moves each value a little. All arithmetic that decoding needs is in whole numbers, so every
machine decodes the same bits.
"""
