package config

// ruleFields are the fields of an update that say when and how much it may bump.
func ruleFields() map[string]known {
	const zone = "Time zone of the IANA database, such as Europe/Berlin; UTC when absent."
	return map[string]known{
		"updates[].windows":            {text: "Times of the week at which bumps may be pushed; always when absent."},
		"updates[].windows[].days":     {text: "Days on which the window begins, such as Mon-Fri or Sat,Sun; every day when absent."},
		"updates[].windows[].hours":    {text: "Span of hours, such as 09:00-17:00, or 22:00-04:00 into the next day; the whole day when absent."},
		"updates[].windows[].timezone": {text: zone},
		"updates[].freeze":             {text: "Periods in which nothing is bumped, whatever the windows say."},
		"updates[].freeze[].from":      {text: "First day, such as 2026-12-20, or a time as in RFC 3339.", required: true},
		"updates[].freeze[].to":        {text: "Last day, frozen whole, or the time at which the period ends.", required: true},
		"updates[].freeze[].timezone":  {text: zone},
		"updates[].freeze[].reason":    {text: "Why, for the people who wait.", required: true},
		"updates[].maxBumps":           {text: "How many policies may move."},
		"updates[].maxBumps.perPass":   {text: "In one pass over the repository."},
		"updates[].maxBumps.perHour":   {text: "In the last 60 minutes of the branch's history."},
		"updates[].maxMajors":          {text: "How many major versions a tag may be away from the one that is there; any number when absent."},
		"updates[].allowDowngrade":     {text: "Let a selected version replace a newer one."},
		"updates[].settle":             {text: "How long after a push further bumps are gathered into the next one; 2s when absent."},
	}
}
