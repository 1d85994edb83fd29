package supervisor

import "triptych.dev/triptych/internal/handshake"

// disagreement returns an error that names a setting which m and another tier
// were given different values of, or nil: tiers that disagree would store,
// decode or audit the same object differently.
func (c *chain) disagreement(m *member) error {
	for _, other := range c.members {
		if other == m || other.description == nil {
			continue
		}
		if other.description.GetSettingsHash() == m.description.GetSettingsHash() {
			continue
		}
		if err := handshake.Compatible(other.description, m.description.GetSettings()); err != nil {
			return err
		}
	}
	return nil
}
