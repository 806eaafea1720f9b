import { api, made, type Schemas } from "../api/client";
import { useActions } from "../api/queries";
import { AtOnce } from "./actions";
import { count } from "./moments";

interface Suppressed {
  value: Schemas["SuppressionView"];
  isNew: boolean;
}

/** A button that suppresses addresses. To take it back removes only what was not suppressed before. */
export function SuppressButton(properties: {
  label: string;
  addresses: () => readonly string[];
  reason: string;
  name?: string;
  disabled?: boolean;
  done?: () => void;
}) {
  const { label, addresses, reason, name = label, disabled = false, done } = properties;
  const action = useActions<void, Suppressed["value"], readonly Suppressed[]>(
    () => addresses().map((address) => api.POST("/v1/suppressions", { body: { address, reason } })),
    {
      send: async (calls) => {
        const answers: Suppressed[] = [];
        for (const call of calls) answers.push(await made(call));
        return answers;
      },
      changes: ["suppressions"],
      said: (all) => {
        const fresh = all.filter(({ isNew }) => isNew).length;
        const before = all.length - fresh;
        return `Suppressed addresses: ${count(fresh)}${before > 0 ? `; suppressed before: ${count(before)}` : ""}`;
      },
      undo: (all) =>
        all
          .filter(({ isNew }) => isNew)
          .map(({ value: { address } }) =>
            api.DELETE("/v1/suppressions/{address}", { params: { path: { address } } }),
          ),
      done: () => done?.(),
    },
  );
  return <AtOnce label={label} name={name} disabled={disabled} action={action} />;
}
