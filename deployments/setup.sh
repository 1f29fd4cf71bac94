#!/bin/sh
# Prepares an installation: bucket, work pool, block documents, deployments, automations. May be run again at any time.
# Needs PREFECT_API_URL and what blocks/$GENVIDEO_ENVIRONMENT.py asks for; run from the folder that holds deployments/.
set -eu
environment=${GENVIDEO_ENVIRONMENT:-production}
pool=${GENVIDEO_WORK_POOL:-genvideo}

if [ "$environment" = simulator ]; then
  python - <<'PYTHON'
import os

import boto3

s3 = boto3.client(
    "s3",
    endpoint_url=os.environ["GENVIDEO_S3_ENDPOINT_URL"],
    aws_access_key_id=os.environ["GENVIDEO_S3_ACCESS_KEY_ID"],
    aws_secret_access_key=os.environ["GENVIDEO_S3_SECRET_ACCESS_KEY"],
    region_name="us-east-1",
)
bucket = os.environ["GENVIDEO_BUCKET"]
if bucket not in [known["Name"] for known in s3.list_buckets()["Buckets"]]:
    s3.create_bucket(Bucket=bucket)
PYTHON
fi

python "blocks/$environment.py"
prefect --no-prompt work-pool create "$pool" --type process --overwrite

# The lines that prefect.yaml's head says to change: pool, blocks, bucket.
ready=$(mktemp -d)
trap 'rm -rf "$ready"' EXIT
sed -e "s|&work_pool { name: genvideo }|\&work_pool { name: $pool }|" -e "s|/production|/$environment|g" \
  -e "s|s3://genvideo/|s3://$GENVIDEO_BUCKET/|g" deployments/prefect.yaml >"$ready/prefect.yaml"
prefect --no-prompt deploy --all --prefect-file "$ready/prefect.yaml"

if ! prefect automation inspect "Flow runs of lost machines" >/dev/null 2>&1; then
  prefect automation create --from-file deployments/automations.yaml
fi
