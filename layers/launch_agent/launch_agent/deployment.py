"""Where this launch agent is deployed: what a plan needs to know of its surroundings."""

from launch_agent.model import Model


class Deployment(Model):
    """One deployed stack and the W&B server it serves. Fields are set by the template, or by a dry run's options."""

    account_id: str
    partition: str = "aws"
    region: str
    stack_name: str
    wandb_base_url: str
    image_repository: str = ""
    """The address of the repository for built images; empty where the stack builds none."""

    def role_arn(self, role: str) -> str:
        """Return the ARN of a role given by ARN, or by the bare name of a role of this account."""
        if role.startswith("arn:"):
            return role
        return f"arn:{self.partition}:iam::{self.account_id}:role/{role}"

    def console(self, path: str) -> str:
        """Return the address of a page of the AWS console in this region, for instance `states/home#/...`."""
        hosts = {"aws-cn": "console.amazonaws.cn", "aws-us-gov": "console.amazonaws-us-gov.com"}
        return f"https://{self.region}.{hosts.get(self.partition, 'console.aws.amazon.com')}/{path}"

    def training_job_page(self, name: str) -> str:
        """Return the address of a training job in the console."""
        return self.console(f"sagemaker/home?region={self.region}#/jobs/{name}")

    def training_logs_page(self, name: str) -> str:
        """Return the address of a training job's log streams in the console."""
        group = "$252Faws$252Fsagemaker$252FTrainingJobs"
        return self.console(
            f"cloudwatch/home?region={self.region}#logsV2:log-groups/log-group/{group}$3FlogStreamNameFilter$3D{name}$252F"
        )

    def execution_page(self, execution_arn: str) -> str:
        """Return the address of an execution in the console."""
        return self.console(f"states/home?region={self.region}#/v2/executions/details/{execution_arn}")
