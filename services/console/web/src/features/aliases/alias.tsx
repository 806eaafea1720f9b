import { getRouteApi, useNavigate } from "@tanstack/react-router";
import { answer, api, only, type Schemas, tagged } from "../../api/client";
import { useCan } from "../../api/me";
import { problemOf } from "../../api/problem";
import { useOne } from "../../api/queries";
import { Removal } from "../../parts/actions";
import { CopyAs } from "../../parts/copy-as";
import { Edit } from "../../parts/edit";
import { Managed, restored } from "../../parts/managed";
import { Failure, Loading } from "../../parts/notices";
import { Facts, Page, Section } from "../../parts/page";
import { State } from "../../parts/state";
import { Time } from "../../parts/time";
import { endsOf } from "./ends";
import { TARGETS, Targets } from "./targets";

type Alias = Schemas["AliasView"];

const route = getRouteApi("/aliases/$address");

export function AliasPage() {
  const { address } = route.useParams();
  const can = useCan();
  const navigate = useNavigate();
  const path = { address };
  const ask = () => tagged(api.GET("/v1/aliases/{address}", { params: { path } }));
  const alias = useOne(["aliases", "one", address], ask);
  if (alias.data === undefined)
    return (
      <Page title={address}>
        {alias.isPending ? <Loading /> : <Failure problem={alias.error} />}
      </Page>
    );
  return (
    <Page
      title={address}
      actions={
        <>
          <Managed mark={alias.data.value.managed_by} />
          <CopyAs calls={() => [api.GET("/v1/aliases/{address}", { params: { path } })]} />
          {can("deleteAlias") && (
            <Removal
              title="Delete alias"
              text={`Mail for ${address} is refused from then on.${restored(alias.data.value.managed_by)}`}
              call={() => api.DELETE("/v1/aliases/{address}", { params: { path } })}
              changes={["aliases"]}
              said={`Deleted ${address}`}
              undo={() =>
                api.POST("/v1/aliases", {
                  body: { address, targets: alias.data.value.targets },
                })
              }
              done={() => void navigate({ to: "/aliases" })}
            />
          )}
        </>
      }
    >
      <Facts
        facts={[
          ["Leads to", <Targets key="targets" alias={alias.data.value} />],
          ["Ends at", <Ends key="ends" alias={alias.data.value} />],
          ["Created", <Time key="created" at={alias.data.value.created_at} />],
          ["Changed", <Time key="changed" at={alias.data.value.updated_at} />],
        ]}
      />
      {can("changeAlias") && (
        <Section title="Targets">
          <Edit
            fields={[TARGETS]}
            managed={alias.data.value.managed_by}
            read={alias.data}
            ask={ask}
            save={(change, tag) =>
              api.PATCH("/v1/aliases/{address}", {
                params: { path, header: only(tag) },
                body: change as Schemas["AliasChange"],
              })
            }
            changes={["aliases"]}
            said={`Changed ${address}`}
          />
        </Section>
      )}
    </Page>
  );
}

/** The addresses that get the mail in the end, through other aliases, and the loops on the way. */
function Ends({ alias }: { alias: Alias }) {
  const targetsOf = async (address: string) => {
    if (address === alias.address) return alias.targets;
    try {
      const found = await answer(
        api.GET("/v1/aliases/{address}", { params: { path: { address } } }),
      );
      return found.targets;
    } catch (failure) {
      /* an account, or an address elsewhere */
      if (problemOf(failure).status === 404) return null;
      throw failure;
    }
  };
  const ends = useOne(["aliases", "ends", alias.address, alias.updated_at], () =>
    endsOf(alias.address, targetsOf),
  );
  if (ends.data === undefined)
    return ends.isPending ? <Loading /> : <Failure problem={ends.error} />;
  return (
    <ul className="bare">
      {ends.data.map(({ address, by, isLoop }) => (
        <li key={`${address} ${isLoop}`}>
          {address} {isLoop && <State kind="warn">a loop</State>}{" "}
          {by.length > 1 && <span className="weak">by {by.slice(1).join(", ")}</span>}
        </li>
      ))}
    </ul>
  );
}
