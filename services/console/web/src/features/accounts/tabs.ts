/** The parts of an account's screen, as they stand in the address; the first needs no name. */
export const TABS = ["mailboxes", "passwords", "filter", "deleted", "reads"] as const;
