"""Workers of our own Ray are forked from processes that have imported what they need. Linux only.

A worker that Ray starts as a new interpreter imports for more than a second what its neighbours have
imported already: at the start of a run, and again after each fault. :mod:`.ask` is what Ray starts instead;
it hands its place to a fork of :mod:`.server`, or becomes the worker itself where nobody answers.
"""
