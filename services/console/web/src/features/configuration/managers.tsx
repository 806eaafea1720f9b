import { answer, api, type Schemas } from "../../api/client";
import { useCan } from "../../api/me";
import { useOne } from "../../api/queries";
import { Removal } from "../../parts/actions";
import { CopyAs } from "../../parts/copy-as";
import { Failure } from "../../parts/notices";
import { Section } from "../../parts/page";
import { Time } from "../../parts/time";

type Manager = Schemas["ManagerView"];
type Tenant = { tenant?: string };

const KINDS = ["domains", "accounts", "aliases", "webhooks", "routes"] as const;

/** The tools that apply documents to a tenant; nothing where there are none. */
export function Managers({ tenant }: { tenant: Tenant }) {
  const can = useCan();
  const ask = () => api.GET("/v1/config/managers", { params: { query: tenant } });
  const found = useOne(["managers", tenant], () => answer(ask()));
  const managers = found.data?.items ?? [];
  if (managers.length === 0) return <Failure problem={found.error} />;
  return (
    <Section title="Managers" actions={<CopyAs calls={() => [ask()]} />}>
      <ul>
        {managers.map((manager) => (
          <li key={manager.name}>
            <strong>{manager.name}</strong> manages {numbersOf(manager)} since{" "}
            <Time at={manager.since} />{" "}
            {can("releaseManager") && <Release manager={manager} tenant={tenant} />}
          </li>
        ))}
      </ul>
    </Section>
  );
}

function Release({ manager, tenant }: { manager: Manager; tenant: Tenant }) {
  return (
    <Removal
      label="Release…"
      name={`Release ${manager.name}`}
      title="Release all"
      text={`${numbersOf(manager)} stay as they are, and are managed by nobody until ${manager.name} applies its document again.`}
      call={() =>
        api.DELETE("/v1/config/managers/{manager}", {
          params: { path: { manager: manager.name }, query: tenant },
        })
      }
      changes={["managers", "domains", "accounts", "aliases", "webhooks", "routes"]}
      said={`Released what ${manager.name} managed`}
    />
  );
}

/** Return the numbers of objects that are not zero, in words. */
function numbersOf({ objects }: Manager): string {
  return KINDS.filter((kind) => objects[kind] > 0)
    .map((kind) => `${objects[kind]} ${kind}`)
    .join(", ");
}
