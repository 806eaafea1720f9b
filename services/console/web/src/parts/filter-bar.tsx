import type { FormEvent } from "react";

export interface Filter {
  name: string;
  label: string;
  /** The values to choose from; without them it is a text. */
  options?: readonly string[];
  /** What a value is called, where that is another word. */
  words?: (value: string) => string;
  /** What stands for no choice; any, unless it says otherwise. */
  none?: string;
}

/** The filters of a list; what is applied stands in the address. */
export function FilterBar(properties: {
  filters: readonly Filter[];
  values: Readonly<Record<string, string | true | undefined>>;
  apply: (values: Record<string, FormDataEntryValue>) => void;
  label?: string;
}) {
  const { filters, values, apply, label = "Filter" } = properties;
  const shown = (filter: Filter) => {
    const value = values[filter.name];
    return typeof value === "string" ? value : "";
  };
  const submit = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    apply(Object.fromEntries(new FormData(event.currentTarget)));
  };
  return (
    <form className="filters" key={filters.map(shown).join("\n")} onSubmit={submit}>
      {filters.map((filter) =>
        filter.options === undefined ? (
          <input
            key={filter.name}
            type="search"
            name={filter.name}
            aria-label={filter.label}
            placeholder={filter.label}
            defaultValue={shown(filter)}
          />
        ) : (
          <label key={filter.name}>
            {filter.label}{" "}
            <select name={filter.name} defaultValue={shown(filter)}>
              <option value="">{filter.none ?? "any"}</option>
              {filter.options.map((option) => (
                <option key={option} value={option}>
                  {filter.words?.(option) ?? option}
                </option>
              ))}
            </select>
          </label>
        ),
      )}
      <button type="submit">{label}</button>
    </form>
  );
}
