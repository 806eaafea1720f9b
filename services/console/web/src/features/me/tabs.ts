/** The parts of a person's own screen, as they stand in the address; the first needs no name. */
export const TABS = ["mail", "history", "vacation", "forwards", "quarantine", "deleted"] as const;
