"""Engines in processes of their own, which sample while this one trains (`rollout.placement: separate`)."""
