"""Optimizers: Muon for convolutions."""

from mmscratch.optimizers.conv_muon import ConvMuon
