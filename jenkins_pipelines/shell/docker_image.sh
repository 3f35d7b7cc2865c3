
take_images
skopeo_path=`command -v skopeo`
if [ -z "$source_image" ]; then
  begin_stage build 'Building the image'
  build_image
  end_stage 0 succeeded
  begin_stage push 'Pushing the image'
  push_image
elif [ -n "$skopeo_path" ]; then
  begin_stage push 'Copying the image'
  copy_with_skopeo
else
  begin_stage push 'Copying the image'
  pull_source_image
  push_image
fi
report_image
