/** Filters of a list, as they stand in the address. */
export type Search = Readonly<Record<string, unknown>>;

/** Return the named texts of an address; an empty text is none. A number was written as a text. */
export function textsIn<Name extends string>(
  search: Search,
  names: readonly Name[],
): { [name in Name]?: string } {
  const found: { [name in Name]?: string } = {};
  for (const name of names) {
    const value = search[name];
    if (typeof value === "number" || (typeof value === "string" && value.trim() !== ""))
      found[name] = String(value).trim();
  }
  return found;
}

/** Return a choice of an address as an object with one member, or without it. */
export function choiceIn<Name extends string, Value extends string>(
  search: Search,
  name: Name,
  options: readonly Value[],
): { [name in Name]?: Value } {
  const value = options.find((each) => each === search[name]);
  return (value === undefined ? {} : { [name]: value }) as { [name in Name]?: Value };
}

/** Which dialog for new objects is open, as it stands in the address. */
export function creationIn(search: Search): { create?: true; import?: true } {
  if (search.create === true) return { create: true };
  return search.import === true ? { import: true } : {};
}
