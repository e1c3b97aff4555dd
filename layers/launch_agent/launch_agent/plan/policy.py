"""`policy`: whether a run keeps the rules of launch-config.yaml.

The finished request is compared, with macros and template variables replaced, so it does not matter where a value comes
from or how its key is spelt.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, cast

from launch_agent.image.recipe import BuildPlan, GitCode
from launch_agent.model import shown
from launch_agent.plan.agent import Agent
from launch_agent.plan.asked import Asked, asked_amounts, asked_values, block, blocks, data_sources
from launch_agent.plan.price_rules import price_faults
from launch_agent.plan.source import Source
from launch_agent.plan.training_request import TrainingRequest
from launch_agent.run_queue.policy import Rules, matches

KNOWN_KEYS = frozenset(
    {
        *("AlgorithmSpecification", "CheckpointConfig", "DebugHookConfig", "DebugRuleConfigurations"),
        *("EnableInterContainerTrafficEncryption", "EnableManagedSpotTraining", "EnableNetworkIsolation"),
        *("Environment", "ExperimentConfig", "HyperParameters", "InfraCheckConfig", "InputDataConfig"),
        *("OutputDataConfig", "ProfilerConfig", "ProfilerRuleConfigurations", "RemoteDebugConfig", "ResourceConfig"),
        *("RetryStrategy", "RoleArn", "StoppingCondition", "Tags", "TensorBoardOutputConfig", "TrainingJobName"),
        "VpcConfig",
    }
)
"""The keys of CreateTrainingJob that have rules, or that reach nothing a rule is about."""
_HIDDEN = ("entry_points", "arguments")
"""Rules about values that may be secrets."""
_LEADS_ASIDE = re.compile(r"/\.{1,2}(/|$)|%2e|%2f", re.IGNORECASE)


def policy_faults(source: Source, request: TrainingRequest, queue: str, agent: Agent) -> list[str]:
    """Return a fault for each rule that the run breaks, and who can change the rules."""
    policy = agent.config.policy
    asked = [*asked_values(source, request, agent.shape)] if policy else []
    faults: list[str] = []
    for path, rules in policy.of(queue).items() if policy else ():
        faults += [*_patterns(path, rules, asked), *_amounts(path, rules, request.body)]
        faults += [*_conditions(path, rules, request.body), *_tags(path, rules, request.body)]
        faults += [*_indirect_inputs(path, rules, request.body), *_other_keys(path, rules, request.body, agent)]
        faults += price_faults(path, rules, request.body, agent.prices_of)
        if source.build:
            faults += _build(path, rules, source.build, source.spec.overrides.dockerfile)
    stack = agent.deployment.stack_name
    who = f"The people who deploy the stack {stack} can change these rules, in launch-config.yaml."
    return [*faults, who] if faults else []


def _patterns(path: str, rules: Rules, asked: list[Asked]) -> Iterator[str]:
    for rule, key, value in asked:
        allowed = getattr(rules, rule)
        if allowed is None or matches(allowed, value):
            continue
        these = f"allows {', '.join(map(shown, allowed))}" if allowed else "allows none"
        yield f"{_not_allowed(rule, key, value)}: {path}.{rule} {these}."


def _not_allowed(rule: str, key: str, value: str) -> str:
    """Return what is not allowed, and how to change it if the value is missing."""
    if rule == "jobs" and not value:
        return "The run is of an image, and runs without a job are not allowed. Queue a run of a job that is allowed"
    if not value:
        return f"{key} is empty, which is not allowed. Write a value that is allowed, or leave it out"
    return f"{key} is not allowed" if rule in _HIDDEN else f'{key} is "{shown(value)}", which is not allowed'


def _amounts(path: str, rules: Rules, body: Mapping[str, Any]) -> Iterator[str]:
    for rule, key, amount in asked_amounts(body):
        most = getattr(rules, rule)
        if most is not None and amount > most:
            yield f"{key} is {shown(amount)}, which is not allowed: {path}.{rule} allows {most}."


def _conditions(path: str, rules: Rules, body: Mapping[str, Any]) -> Iterator[str]:
    if rules.require_vpc and not block(body, "VpcConfig"):
        yield f"VpcConfig is missing: {path}.require_vpc is true. Add it to the queue's configuration."
    if rules.require_network_isolation and body.get("EnableNetworkIsolation") is not True:
        yield f"EnableNetworkIsolation is not true: {path}.require_network_isolation is true."
    if not rules.allow_remote_debug and block(body, "RemoteDebugConfig").get("EnableRemoteDebug"):
        yield f"RemoteDebugConfig.EnableRemoteDebug is not allowed: {path}.allow_remote_debug is false."


def _tags(path: str, rules: Rules, body: Mapping[str, Any]) -> Iterator[str]:
    tags = {str(tag.get("Key")): tag.get("Value") for tag in blocks(body, "Tags")}
    for key, pattern in rules.tags.items():
        value = str(tags.get(key) or "")
        if not value:
            yield f'Tags has no "{shown(key)}": {path}.tags requires it. Add it to the queue\'s configuration.'
        elif not matches([pattern], value):
            yield (
                f'The tag "{shown(key)}" is "{shown(value)}", which is not allowed: {path}.tags allows '
                f"{shown(pattern)}."
            )


def _indirect_inputs(path: str, rules: Rules, body: Mapping[str, Any]) -> Iterator[str]:
    """Yield a fault for each manifest: it can name objects that the rule would not allow."""
    for key, source in data_sources(body):
        kind = block(source, "S3DataSource").get("S3DataType")
        if rules.inputs is not None and kind in ("ManifestFile", "AugmentedManifestFile"):
            yield (
                f"{key}.S3DataSource.S3DataType is {kind}, which can name any objects: with {path}.inputs, "
                "only S3Prefix is allowed."
            )


def _other_keys(path: str, rules: Rules, body: Mapping[str, Any], agent: Agent) -> Iterator[str]:
    of_sagemaker = cast(Any, agent.shape).members.keys()
    for key in sorted((body.keys() & of_sagemaker) - KNOWN_KEYS - set(rules.other_keys)):
        yield f"{shown(key)} is not allowed: {path} has no rule about it. To allow it, add it to {path}.other_keys."


def _build(path: str, rules: Rules, build: BuildPlan, dockerfile: str | None) -> Iterator[str]:
    """Yield the faults of a build.

    For git, `/a/../b` is `/b` (https://curl.se/libcurl/c/CURLOPT_PATH_AS_IS.html). The remotes of submodules and of
    large files are named by files of the code.
    """
    if dockerfile and not rules.allow_dockerfile_override:
        yield f"overrides.dockerfile is not allowed: {path}.allow_dockerfile_override is false."
    if rules.git_remotes is None or not isinstance(build.code, GitCode):
        return
    if _LEADS_ASIDE.search(build.code.remote):
        yield f'The job\'s git remote is "{shown(build.code.remote)}": with {path}.git_remotes, /../ is not allowed.'
    for option, is_set in {"git_submodules": build.code.submodules, "git_lfs": build.code.large_files}.items():
        if is_set:
            yield f"builder.{option} can fetch from any server: with {path}.git_remotes, it is not allowed."
