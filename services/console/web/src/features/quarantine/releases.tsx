import { answer, api } from "../../api/client";
import { useCan } from "../../api/me";
import { useAction } from "../../api/queries";
import { Removal } from "../../parts/actions";
import { Failure } from "../../parts/notices";
import { saidOf } from "./reasons";

/** Releases or deletes the ticked copies; one request releases all of them. */
export function Releases({ ids, done }: { ids: readonly string[]; done: () => void }) {
  const can = useCan();
  const release = useAction(
    (isHam: boolean) =>
      answer(
        api.POST("/v1/quarantine/release", {
          body: { ids: [...ids], ...(isHam ? { classify: "ham" as const } : {}) },
        }),
      ),
    { changes: ["quarantine", "messages"], said: saidOf, done },
  );
  const isIdle = ids.length === 0 || release.isPending;
  return (
    <>
      <div className="filters">
        {can("releaseAllQuarantined") && (
          <>
            <button type="button" disabled={isIdle} onClick={() => release.mutate(false)}>
              Release
            </button>
            <button type="button" disabled={isIdle} onClick={() => release.mutate(true)}>
              Not spam: release and learn
            </button>
          </>
        )}
        {can("deleteQuarantined") && ids.length > 0 && (
          <Removal
            title="Delete withheld messages"
            text={`The selected copies (${ids.length}) are deleted, and their recipients never get them.`}
            typed={String(ids.length)}
            run={async () => {
              for (const id of ids)
                await answer(api.DELETE("/v1/quarantine/{id}", { params: { path: { id } } }));
            }}
            changes={["quarantine"]}
            said={`Deleted: ${ids.length}`}
            done={done}
          />
        )}
        <span className="weak">{ids.length} selected</span>
      </div>
      <Failure problem={release.error} />
    </>
  );
}
