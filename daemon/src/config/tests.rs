//! Facts about settings, rule by rule.
