import { Command } from "../notices";
import { Section } from "../page";

const FORMS = [
  ["mbox", "One file (mbox)"],
  ["maildir", "An archive of Maildirs, with flags and keywords"],
  ["eml", "An archive with a file for each message"],
] as const;

/** Links that save all mail of an account as a file. `path`: of the API's operation. */
export function ExportMail(properties: { path: string; command: string; note: string }) {
  const { path, command, note } = properties;
  return (
    <Section title="Export">
      <p>All mail as one file. {note}</p>
      <ul>
        {FORMS.map(([form, title]) => (
          <li key={form}>
            <a href={`${path}?format=${form}`} download>
              {title}
            </a>
          </li>
        ))}
      </ul>
      <Command text={command} />
    </Section>
  );
}
