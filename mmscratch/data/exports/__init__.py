"""Folders as labelling tools export them: each module reads one layout, ``cache`` keeps the result.

``recognise(root)`` of a module returns an :class:`~mmscratch.data.exports.export.Export` of its
layout, or None.
"""
