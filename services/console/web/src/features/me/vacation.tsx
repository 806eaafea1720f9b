import { answer, api, type Schemas } from "../../api/client";
import { useAction, useOne } from "../../api/queries";
import { Inputs } from "../../parts/edit";
import { type EditedField, valuesOf } from "../../parts/edits";
import { Form, TextArea } from "../../parts/form";
import { Failure, Loading } from "../../parts/notices";
import { Section } from "../../parts/page";

type Document = Schemas["VacationDocument"];

const BEFORE: readonly EditedField[] = [
  { name: "enabled", label: "Reply automatically", kind: "tick" },
  { name: "subject", label: "Subject", kind: "text" },
];
const AFTER: readonly EditedField[] = [
  { name: "starts_at", label: "From", kind: "day", hint: "Empty: at once. The day begins in UTC." },
  { name: "ends_at", label: "Until", kind: "day", hint: "Empty: until you switch it off." },
];

/** The automatic reply of the person who is signed in. */
export function Vacation() {
  const vacation = useOne(["vacation"], () => answer(api.GET("/v1/me/vacation")));
  const save = useAction(
    (values: FormData) =>
      api.PUT("/v1/me/vacation", {
        body: {
          ...valuesOf([...BEFORE, ...AFTER], values),
          text: String(values.get("text") ?? ""),
        } as Document,
      }),
    {
      changes: ["vacation"],
      said: (saved) => (saved.enabled ? "Replies are sent" : "No replies are sent"),
    },
  );
  if (vacation.data === undefined)
    return vacation.isPending ? <Loading /> : <Failure problem={vacation.error} />;
  return (
    <Section title="Automatic reply">
      <p>Each sender gets one in seven days; lists and other programs get none.</p>
      <Form action={save} read={(values) => values} label="Save">
        <Inputs fields={BEFORE} values={vacation.data} problem={save.error} />
        <TextArea
          name="text"
          label="Text"
          rows={6}
          defaultValue={vacation.data.text}
          problem={save.error}
          required
        />
        <Inputs fields={AFTER} values={vacation.data} problem={save.error} />
      </Form>
    </Section>
  );
}
